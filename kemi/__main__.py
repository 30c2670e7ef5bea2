import sys

from kemi.cli import main

sys.exit(main())
