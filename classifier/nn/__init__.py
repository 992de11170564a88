"""DM-FNet in Keras 3, one custom layer per module.

Importing this package loads no numerical library: the layers import Keras themselves, and only
training, export and the TensorFlow engine import the layers.
"""

MODEL_NAME = "dmfnet"
EMBEDDING_SIZE = 256
EXPLANATION_SIZE = 16
# Values of the pooled feature map, from which the out-of-distribution score is computed.
POOLED_SIZE = 512
OUTPUT_NAMES = ("logits", "embedding", "explanation", "pooled")
