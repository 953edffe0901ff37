"""Train in ten lines: handwritten digits, and a table of what the network makes of some it has never seen."""

import nn_any as nn

training, validation, test = nn.datasets.load_digits()
net = nn.Network([64, 30, 10], initializer="scaled_normal", seed=0)
net.fit(training, epochs=30, batch_size=10, optimizer=nn.SGD(learning_rate=3.0), validation_data=validation)

print(net.summary())
print(f"\n{net.accuracy(test):.1%} of {len(test)} test digits are right, on {net.device}\n")
x, y = next(test.batches(12, shuffle=False))
print("it is   ", *nn.to_numpy(y))
print("it says ", *nn.to_numpy(net.predict(x)))
