"""Parts of deletion by a reference: see :mod:`app.unlearning.methods.reference_distillation`."""
