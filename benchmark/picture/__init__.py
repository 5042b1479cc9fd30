"""The maps of one picture, method by method and class by class."""
