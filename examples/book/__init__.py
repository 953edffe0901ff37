"""The experiments of Nielsen's book: ``python -m examples.book.run_all``, or one by name, in a clone of the repository.

MNIST is read from the folder that ``NN_ANY_DATA`` names, or downloaded. ``--help`` tells the options of each, and
``--quick`` runs it in seconds on a few images, to see that it works.
"""
