"""Audio: waves, their spectra, and back; pure functions of arrays [..., samples]."""
