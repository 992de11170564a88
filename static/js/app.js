// Entry point of every page. Each part looks for its own elements and does nothing without them.

import "./morph.js";
import { startFrame } from "./frame.js";
import { startGallery } from "./gallery.js";
import { startSession } from "./session.js";
import { startRows } from "./rows.js";
import { startUpload } from "./upload.js";
import { startCell } from "./cell.js";

startFrame();
startSession();
startRows();
startGallery();
startCell();
startUpload();
