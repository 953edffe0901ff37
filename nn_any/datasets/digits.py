"""The handwritten digits that scikit-learn carries."""

from nn_any.backends import Device
from nn_any.datasets.dataset import Dataset


def load_digits(device: str | Device | None = None) -> tuple[Dataset, Dataset, Dataset]:
    """1,797 images of handwritten digits, 8 × 8 pixels of 0 to 16, as training, validation and test data.

    The writers come in runs in the original order, so the images are shuffled: 80 % training (1,437), 10 % validation
    (180), 10 % test (180), stratified by digit, always with seed 0.

    Parameters
    ----------
    device : str or Device, optional
        Where the data shall live; ``select_device(None)`` by default.

    Returns
    -------
    training, validation, test : Dataset
        x uint8 (n, 64), scaled to 0 … 1 as batches are taken; y labels 0 … 9.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
    doi:10.24432/C50P49.

    Examples
    --------
    >>> training, validation, test = load_digits("numpy")
    >>> test
    Dataset(180 examples of shape (64,), uint8, 10 classes, on numpy:cpu)
    """
    from sklearn.datasets import load_digits as load

    images, labels = load(return_X_y=True)
    whole = Dataset(images.astype("uint8"), labels, classes=10, scale=16, device=device)
    training, validation, test = whole.split(1437, 180, 180, seed=0)
    return training, validation, test
