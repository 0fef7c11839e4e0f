"""ResNet and ViT."""

from golden import Case

IMAGE = ((2, 64, 96, 3),)
ODD, LARGER = ((5, 27, 33, 3),), ((3, 97, 81, 3),)
TEN = {'classes': 10}
TINY = {'image': 32, 'patch': 8, 'width': 48, 'depth': 2, 'heads': 3, 'mlp': 96, 'classes': 10}
# Branches that do not grow with the depth, and logits of attention that leave it undecided: gates
# that are all 0 or 1 hide mistakes, and their sums in float32 differ by more than the tolerance.
MILD = {'*.bn[23].weight': 0.5, '*.fc2.weight': 0.2, '*.mlp.3.weight': 0.2}

CASES = [
    Case('resnet20', 'torch', ((2, 32, 24, 3),), train=True, again=ODD),
    Case('plain20', 'torch', ((2, 32, 24, 3),), train=True, again=ODD, full=True),
    Case('se_resnet20', 'torch', ((2, 32, 24, 3),), {'blocks': 1}, train=True, again=ODD),
    Case('cbam_resnet20', 'torch', ((2, 32, 24, 3),), {'blocks': 1}, train=True, again=ODD),
    Case('resnet50', 'torchvision', IMAGE, {'blocks': 1, **TEN}, train=True, again=LARGER),
    Case(
        *('vit_s_16', 'torchvision', ((2, 32, 32, 3),), TINY),
        tolerance=2e-5,
        train=True,
        again=((5, 32, 32, 3),),
    ),
    *(Case(f'resnet{n}', 'torch', ((2, 32, 24, 3),), full=True) for n in (32, 44, 56, 110)),
    *(Case(f'plain{n}', 'torch', ((2, 32, 24, 3),), full=True) for n in (32, 44, 56, 110)),
    *(
        Case(f'{a}_resnet{n}', 'torch', IMAGE, full=True, gains=MILD)
        for a in ('se', 'cbam')
        for n in (18, 50)
    ),
    Case('resnet18', 'torchvision', IMAGE, train=True, again=LARGER, full=True),
    Case('resnet50', 'torchvision', IMAGE, full=True),
    *(Case(f'resnet{n}', 'torchvision', IMAGE, full=True) for n in (34, 101, 152)),
    Case('resnet50', 'keras', IMAGE, full=True),
    *(
        Case(f'vit_{size}_{patch}', 'torchvision', ((1, 224, 224, 3),), full=True)
        for size in 'sbl'
        for patch in (16, 32)
    ),
]
