"""python -m shared.divergence A B"""

from shared.divergence.divergence import main

if __name__ == "__main__":
    main()
