"""Which release this is. The package is built with it, and no metadata must be searched to tell it."""

VERSION = "0.1.0"
