"""The settings whose defaults depend on where the model runs."""

from dataclasses import asdict, dataclass

from recwire_server.config import Settings
from recwire_server.encoder.device import Device
from recwire_server.model.recipe import Precision


@dataclass(frozen=True)
class DeviceDefaults:
    """The settings whose defaults are others on a device, by their names."""

    precision: Precision
    encoder_thread_count: int
    max_batch_size: int
    max_batch_tokens: int
    max_batch_wait_s: float


# ONNX Runtime has no int8 kernels for CUDA and would run those nodes on the CPU; a second thread only queues behind the
# first on the GPU.
CUDA_DEFAULTS = DeviceDefaults(
    precision=Precision.FP16,
    encoder_thread_count=1,
    max_batch_size=256,
    max_batch_tokens=16_384,
    max_batch_wait_s=0.0005,
)


def settings_for(device: Device, settings: Settings) -> Settings:
    """Return the settings with the device's own defaults for what nobody has set."""
    if device is Device.CPU:
        return settings
    unset = {name: value for name, value in asdict(CUDA_DEFAULTS).items() if name not in settings.model_fields_set}
    return settings.model_copy(update=unset)
