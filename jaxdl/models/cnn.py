"""The small CNN that tutorials start with: two stages of convolution and pooling, two dense layers.

    layer                    output on 32x32x3  parameters   on 64x64x3  parameters
    3x3 convolution, ReLU         32x32x32           896       64x64x32         896
    2x2 pooling                   16x16x32                     32x32x32
    3x3 convolution, ReLU         16x16x64        18,496       32x32x64      18,496
    2x2 pooling                     8x8x64                     16x16x64
    dense, ReLU                        256     1,048,832            256   4,194,560
    dense                               10         2,570             10       2,570
    total                                      1,070,794                  4,216,522

Its plan is that of today's LeNet, so it is that network with other numbers; any field of `LeNet`
is an argument: ``CNN(classes=200)``.
"""

from functools import partial

from jaxdl.models.lenet import LeNet
from jaxdl.nn.layers import average_pool

CNN = partial(LeNet, features=(32, 64), dense=(256,), kernel=(3, 3), padding='SAME')

# The published ones, on digits of 28x28x1.
flax_mnist = partial(CNN, pool=average_pool)  # Flax's MNIST example: 824,458 parameters
deep_mnist = partial(CNN, dense=(1024,), kernel=(5, 5))  # TensorFlow's, of 2015: 3,274,634
