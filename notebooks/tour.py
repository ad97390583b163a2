# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tour: over-fitting, a cure, and what a network sees
#
# Everything happens in this notebook: images, a small network that over-fits, a cure, heat maps, filters. It takes two or three
# minutes on two processor cores. The functions of `cvd` can be taken home: arrays in, arrays out.
#
# In the project's own environment all is installed. In a hosted notebook, one line installs it, with the address of your copy:
#
# ```
# %pip install git+https://github.com/OWNER/REPOSITORY
# ```

# %%
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import cvd

SIZE_PX = 64
keras.utils.set_random_seed(1)


# %% [markdown]
# ## 1. Images become batches
#
# The project draws its own cats and dogs. They differ by ears, muzzle, eyes and tail, not by colour, size or background.
# Each one is a JPEG, like a photo. It is decoded and squashed to a square.


# %%
def draw_images(first, n):
    """Draw n cats and n dogs: pixels (2n, SIZE_PX, SIZE_PX, 3), uint8, and labels (2n,), 0 for cat and 1 for dog."""
    pictures = [cvd.draw_picture(label, index, seed=1) for index in range(first, first + n) for label in ("cat", "dog")]
    pixels = [cvd.resize_image(cvd.decode_photo(picture.jpeg), SIZE_PX) for picture in pictures]
    return np.stack(pixels), np.tile(np.array([0, 1], np.float32), n)


train_images, train_labels = draw_images(0, 100)
validation_images, validation_labels = draw_images(100, 100)

figure, axes = plt.subplots(2, 6, figsize=(10, 3.6))
for ax, image, label in zip(axes.flat, train_images, train_labels, strict=False):
    ax.imshow(image)
    ax.set_title("dog" if label else "cat")
    ax.axis("off")

# %% [markdown]
# ## 2. A network that over-fits
#
# Three convolutions, each followed by pooling, then two dense layers. It has far more weights than there are images, so it can
# memorise all of them.


# %%
def train(dataset, *, dropout, epochs):
    """Train the small plain network; the model, and its history as a table."""
    keras.utils.set_random_seed(1)
    model = cvd.build_plain(size_px=SIZE_PX, dropout=dropout, width=16, depth=3)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],
    )
    fit = model.fit(dataset, epochs=epochs, validation_data=(validation_images, validation_labels[:, None]), verbose=0)
    return model, pd.DataFrame(fit.history).assign(epoch=range(1, epochs + 1))


class Batches(keras.utils.PyDataset):
    """Batches of 20 images in a new order each epoch; with an augmentation, each image is changed before each use."""

    def __init__(self, augmentation=None):
        super().__init__()
        self.augmentation, self.epoch = augmentation, 0
        self.order = np.random.default_rng(0).permutation(len(train_images))

    def __len__(self):
        return len(train_images) // 20

    def __getitem__(self, batch):
        rows = self.order[20 * batch : 20 * (batch + 1)]
        images = train_images[rows]
        if self.augmentation:
            images = cvd.augment_images(images, self.augmentation, epoch=self.epoch, indices=rows)
        return images, train_labels[rows, None]

    def on_epoch_end(self):
        self.epoch += 1
        self.order = np.random.default_rng(self.epoch).permutation(len(train_images))


plain, plain_history = train(Batches(), dropout=0.0, epochs=25)
print(plain_history.tail(1).to_string(index=False))

# %% [markdown]
# ## 3. One cure: augmentation and dropout
#
# Every image is turned, shifted, sheared, zoomed and mirrored at random, differently in each epoch. These are eight forms of one image.

# %%
augmentation = cvd.Augmentation(
    seed=1, rotation_degrees=20, shift_fraction=0.1, shear_degrees=5, zoom_fraction=0.1, horizontal_flip=True,
    brightness_fraction=0, contrast_fraction=0, saturation_fraction=0, erase_fraction=0, mixup_alpha=0, cutmix_alpha=0,
)  # fmt: skip
figure, axes = plt.subplots(1, 8, figsize=(12, 1.8))
for epoch, ax in enumerate(axes):
    ax.imshow(cvd.augment_images(train_images[:1], augmentation, epoch=epoch, indices=np.array([0]))[0])
    ax.axis("off")

# %%
cured, cured_history = train(Batches(augmentation), dropout=0.5, epochs=40)
curves = {"plain": plain_history, "augmented": cured_history}
figure = cvd.draw_curves({name: cvd.tabulate_curves(history) for name, history in curves.items()})
figure  # noqa: B018

# %% [markdown]
# Dashed is training, solid is validation, and the shaded gap between them is over-fitting. The plain network memorises its 200
# images. The cured one cannot: no image comes twice in the same form.

# %%
for name, history in curves.items():
    last = history.iloc[-1]
    gap = 100 * (last["accuracy"] - last["val_accuracy"])
    print(f"{name:10} training {last['accuracy']:.1%}  validation {last['val_accuracy']:.1%}  gap {gap:.0f} points")

# %% [markdown]
# ## 4. Where does it look?
#
# A heat map says which places speak for *dog*. Its cells lie on the cells of the last convolution, so it is coarse.

# %%
shown = validation_images[:6]
figure, axes = plt.subplots(3, 6, figsize=(11, 5.8))
for row, model in enumerate((None, plain, cured)):
    if model:
        maps = cvd.align_maps(model, "conv3", cvd.explain_images(model, shown, layer="conv3", sign=1))
    for column, image in enumerate(shown):
        axes[row, column].imshow(cvd.overlay_heat(image, maps[column]) if model else image)
        axes[row, column].axis("off")
for ax, name in zip(axes[:, 0], ("image", "plain", "cured"), strict=True):
    ax.set_title(name, loc="left")

# %% [markdown]
# ## 5. What do filters look for?
#
# Gradient ascent changes pixels until a filter answers as strongly as it can.

# %%
pictures = cvd.ascend_filters(cured, layer="conv2", filters=range(8), size_px=SIZE_PX, steps=20, seed=1).pictures
figure, axes = plt.subplots(1, 8, figsize=(12, 1.8))
for number, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
    ax.imshow(np.clip(picture, 0, 255).astype(np.uint8))
    ax.set_title(number)
    ax.axis("off")

# %% [markdown]
# ## Try next
#
# - Change `n` in `draw_images(0, 100)` to 300. More images are a cure too.
# - Set `dropout=0.0` in the cure: which of its two parts did the work?
# - Then let the pipeline do all of it, on four networks, with error bars and in MLflow: `make repro`.
