"""What has to be done before a dataset's files can be read: those of the Hugging Face hub are copied once."""

from encoder_ablations.data.spec import DatasetSpec

HUB_MARKER = "hub.json"
"""Is written last into the copy of a dataset of the hub, and says which commit it is of."""


def prepare_dataset(spec: DatasetSpec) -> None:
    """Copy a dataset of the hub into its folder, where this has not been done. Others need nothing.

    Raises:
        InputError: the hub cannot be reached, or its dataset is not as ``spec.hub`` says.
    """
    if spec.hub is not None and not is_prepared(spec):
        # here and not above, because it needs an optional package
        from encoder_ablations.data.hub import copy_from_hub

        copy_from_hub(spec.folder, spec.hub)


def is_prepared(spec: DatasetSpec) -> bool:
    """Return whether a dataset's folder is there and, if it comes from the hub, complete."""
    if spec.hub is not None:
        return (spec.folder / HUB_MARKER).exists()
    return spec.folder.is_dir()
