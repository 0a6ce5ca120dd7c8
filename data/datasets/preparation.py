"""What has to be done before a dataset's files can be read."""

from encoder_ablations.data.datasets.spec import DatasetSpec


def prepare_dataset(spec: DatasetSpec) -> None:
    """Copy a dataset of the hub into its folder, where this has not been done. Others need nothing.

    Raises:
        InputError: the hub cannot be reached, or its dataset is not as ``spec.hub`` says.
    """
    if spec.hub is not None and not spec.is_prepared:
        # here and not above, because it needs an optional package
        from encoder_ablations.data.datasets.hub import copy_from_hub

        copy_from_hub(spec.folder, spec.hub)
