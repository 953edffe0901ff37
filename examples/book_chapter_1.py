"""The book's first chapter on the small digits: columns, pairs and ``Epoch 0: …``, then what the hidden layer does.

With MNIST (``--mnist``, some minutes) it is the chapter's own experiment.
"""

import sys

from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

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
    if "--mnist" in sys.argv:
        training_data, _, test_data = mnist_loader.load_data_wrapper()
        inputs, epochs = 784, 30
    else:
        (training_data, test_data), inputs, epochs = small_digits(), 64, 10

    results = {}
    for sizes in ([inputs, 10], [inputs, 30, 10], [inputs, 100, 10]):
        print(f"\nnetwork.Network({sizes})")
        net = network.Network(sizes, seed=0)
        net.SGD(training_data, epochs, 10, 3.0, test_data=test_data)
        results[str(sizes)] = net.evaluate(test_data)

    table = Table("network", f"right, of {len(test_data):,}", "share", title="learning rate 3.0, batches of 10")
    for sizes, right in results.items():
        table.add_row(sizes, f"{right:,}", f"{right / len(test_data):.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()
