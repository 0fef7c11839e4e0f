"""The tutorial CNN, AlexNet, VGG and Inception."""

from golden import Case

SMALL = {'classes': 10, 'hidden': 32}

CASES = [
    Case('cnn', 'torch', ((2, 32, 32, 3),), tolerance=1e-5, train=True, again=((5, 32, 32, 3),)),
    # Sides that are not equal and maps that do not fit the adaptive pooling.
    Case(
        *('alexnet', 'torchvision', ((2, 160, 224, 3),), SMALL),
        tolerance=2e-5,
        train=True,
        again=((1, 161, 129, 3),),
    ),
    Case('alexnet', 'torchvision', ((1, 224, 224, 3),), tolerance=2e-5, full=True),
    Case(
        *('alexnet2012', 'torch', ((2, 163, 227, 3),), SMALL),
        tolerance=2e-5,
        train=True,
        again=((1, 163, 131, 3),),
    ),
    Case('alexnet2012', 'torch', ((1, 227, 227, 3),), tolerance=2e-5, full=True),
    Case(
        *('vgg11', 'torchvision', ((2, 32, 96, 3),), SMALL),
        tolerance=2e-5,
        train=True,
        again=((3, 49, 37, 3),),
    ),
    Case(
        *('vgg11_bn', 'torchvision', ((2, 32, 96, 3),), SMALL), train=True, again=((3, 49, 75, 3),)
    ),
    *(Case(f'vgg{n}', 'torchvision', ((1, 96, 128, 3),), full=True) for n in (11, 13, 19)),
    *(Case(f'vgg{n}_bn', 'torchvision', ((1, 96, 128, 3),), full=True) for n in (11, 13, 16, 19)),
    Case('vgg16', 'torchvision', ((1, 224, 224, 3),), full=True),
    Case('vgg16', 'keras', ((1, 224, 224, 3),), full=True),
    Case(
        *('googlenet', 'torchvision', ((4, 72, 96, 3),), {'classes': 10}),
        train=True,
    ),
    Case('googlenet', 'torchvision', ((1, 224, 224, 3),), full=True),
    Case('googlenet2014', 'torch', ((1, 96, 120, 3),), full=True),
    Case('inception_v3', 'torchvision', ((1, 75, 107, 3),), {'classes': 10}, full=True),
    Case('inception_v3', 'torchvision', ((2, 299, 299, 3),), full=True),
]
