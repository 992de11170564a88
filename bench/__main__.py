"""`python -m bench`: wbclab against the naive service, through HTTP."""

from bench.run import main

if __name__ == "__main__":
    main()
