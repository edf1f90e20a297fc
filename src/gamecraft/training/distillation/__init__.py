"""Distillations: the training loop with a frozen teacher and other losses.

* guidance: one pass does the work of two (section 5.3 of the Hunyuan-GameCraft paper);
* consistency: phased consistency models, a few steps do the work of many;
* matching: distribution matching on the model's own rollouts, one to four steps and no drift.
"""
