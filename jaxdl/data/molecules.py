"""Molecules as graphs: atoms with features, bonds between them. By RDKit, the extra 'molecules'."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.data.graphs import both_ways
from jaxdl.data.smiles import parsed

ELEMENTS = ('C', 'N', 'O', 'S', 'F', 'Cl', 'Br', 'I', 'P')  # and any other
DEGREES, HYDROGENS = 5, 5  # 0..4 each, and more as 4
HYBRIDISATIONS = ('SP', 'SP2', 'SP3')  # and any other
FEATURES = len(ELEMENTS) + 1 + DEGREES + HYDROGENS + len(HYBRIDISATIONS) + 1 + 3


def molecule_graph(smiles: str) -> dict[str, np.ndarray]:
    """A molecule: x float32 [atoms, FEATURES], and the `senders` and `receivers` of its bonds.

    Atoms without hydrogen: of each its element, how many neighbours and hydrogens it has, its
    hybridisation, one of each kind being 1; its charge, and whether it is aromatic, and in a ring.
    Bonds stand in both directions; their order shows in the atoms.

    Raises UsageError for what is no SMILES, or no atom, and where RDKit is not installed.
    """
    molecule = parsed(smiles.strip(), 'molecule_graph')
    x = np.array([_features(atom) for atom in molecule.GetAtoms()], np.float32)
    pairs = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]
    senders, receivers = both_ways(pairs, nodes=len(x))
    return {'x': x, 'senders': senders, 'receivers': receivers}


def solubility_descriptors(smiles: Sequence[str]) -> np.ndarray:
    """What ESOL's linear model takes of molecules, float64 [n, 4] (Delaney 2004, equation 5).

    The partition coefficient clogP (here of Crippen, where the paper has Daylight's), the molecular
    weight, how many bonds rotate, and the share of atoms that are aromatic.

    Raises UsageError for what is no SMILES, and where RDKit is not installed.
    """
    found = []
    for each in smiles:
        molecule = parsed(each.strip(), 'solubility_descriptors')
        from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors

        log_p: Any = Crippen  # their stubs lack what the modules make when they are imported
        weight: Any = Descriptors
        atoms = molecule.GetAtoms()
        found.append(
            (
                log_p.MolLogP(molecule),
                weight.MolWt(molecule),
                rdMolDescriptors.CalcNumRotatableBonds(molecule),
                sum(atom.GetIsAromatic() for atom in atoms) / len(atoms),
            )
        )
    return np.array(found, np.float64)


def _features(atom: Any) -> list[float]:
    element, hybridisation = atom.GetSymbol(), str(atom.GetHybridization())
    return [
        *(element == each for each in ELEMENTS),
        element not in ELEMENTS,
        *(min(atom.GetDegree(), DEGREES - 1) == i for i in range(DEGREES)),
        *(min(atom.GetTotalNumHs(), HYDROGENS - 1) == i for i in range(HYDROGENS)),
        *(hybridisation == each for each in HYBRIDISATIONS),
        hybridisation not in HYBRIDISATIONS,
        atom.GetFormalCharge(),
        atom.GetIsAromatic(),
        atom.IsInRing(),
    ]
