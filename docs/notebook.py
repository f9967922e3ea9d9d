"""Three tasks, one encoder, in one process.

Trains the demo on the shipped sample, shows how the tasks do and where they disagree, exports, predicts.
Cells of a notebook for VS Code, PyCharm or Jupytext; or run it whole: `python docs/notebook.py`. It takes more recipe
overrides as arguments, and leaves `curves.png` and the folder `exported` where it is run.
"""

# %%
import sys

import matplotlib.pyplot as plt

import multitask

OVERRIDES = [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]
config = multitask.load_recipe("demo", ["+sample", "training.log_every=1", *OVERRIDES])

# %% [markdown]
# ## Train
# Each step gives the loss of every task and the inner products of their gradients. Ctrl-C ends after the step and keeps
# what there is; with `folder="…"` the same call goes on there.

# %%
trained = multitask.train(config)
print(trained.scores)

# %% [markdown]
# ## Curves and conflicts
# A cosine below 0: two tasks pull the encoder in opposite directions, and gradient surgery takes the conflict out.

# %%
figure, (losses, scores, conflicts) = plt.subplots(1, 3, figsize=(15, 4))
for axis, prefix in ((losses, "train/loss/"), (scores, "dev/"), (conflicts, "combination/cosine/")):
    for name in sorted({name for record in trained.history for name in record if name.startswith(prefix)}):
        points = [(record["step"], record[name]) for record in trained.history if name in record]
        axis.plot(*zip(*points, strict=True), label=name.removeprefix(prefix), marker="o" if axis is scores else None)
    axis.set(title=prefix.strip("/"), xlabel="step")
    if axis.lines:
        axis.legend(fontsize=8)
conflicts.axhline(0, color="grey", linewidth=0.5)
figure.tight_layout()
figure.savefig("curves.png")

# %% [markdown]
# ## Export and predict
# The folder loads with `multitask.load`, and its encoder with `AutoModel.from_pretrained`.

# %%
model = multitask.load(trained.export("exported"))
print(model.predict("sst", ["A gripping story, told with warmth.", "Two hours that I want back."]))
print(model.predict("quora", [("How do I learn to cook?", "What is the best way to learn cooking?")]))
print(model.predict("sts", [("A man plays a guitar.", "Someone makes music.")]))
