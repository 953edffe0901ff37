"""The book's first chapter on the small digits: columns, pairs and ``Epoch 0: …``, then what the hidden layer does.

With MNIST (``--mnist``, some minutes) it is the chapter's own experiment.
"""

import sys

from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nn_any as nn
from nn_any.book import mnist_loader, network


def small_digits():
    """The book's form of data, from scikit-learn's digits: pairs of columns, and labels to test with."""
    images, labels = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(images / 16, labels, test_size=300, stratify=labels, random_state=0)
    training_data = [
        (image.reshape(-1, 1), mnist_loader.vectorized_result(digit)) for image, digit in zip(x, y, strict=True)
    ]
    test_data = [(image.reshape(-1, 1), int(digit)) for image, digit in zip(test_x, test_y, strict=True)]
    return training_data, test_data


def main():
    whole = "--mnist" in sys.argv
    if whole:
        training_data, _, test_data = mnist_loader.load_data_wrapper()
    else:
        training_data, test_data = small_digits()
    inputs = len(training_data[0][0])

    table = Table("network", f"right, of {len(test_data):,}", title="30 epochs, learning rate 3.0, batches of 10")
    if not whole:
        table.add_column("with the start of chapter 3")
    for sizes in ([inputs, 10], [inputs, 30, 10], [inputs, 100, 10]):
        print(f"\nnetwork.Network({sizes})")
        net = network.Network(sizes, seed=0)
        net.SGD(training_data, 30, 10, 3.0, test_data=test_data)
        shares = [net.evaluate(test_data)]
        if not whole:
            net = nn.Network(sizes, initializer="scaled_normal", seed=0)
            net.SGD(training_data, 30, 10, 3.0)
            shares.append(net.evaluate(test_data))
        table.add_row(str(sizes), *[f"{right:,} ({right / len(test_data):.2%})" for right in shares])
    Console().print(table)
    if not whole:
        print(
            "In the book, the wide network beats the narrow one. On these few small images it loses: with weights\n"
            "from N(0, 1), the sums are so large that some outputs stick at 0, and their digits are never right.\n"
            "Chapter 3 divides the weights by the root of the number of inputs; then all three networks learn."
        )


if __name__ == "__main__":
    main()
