"""TensorBoard event files without TensorFlow, written in the caller's thread.

tensorboardX's own SummaryWriter hands events to a thread through a bounded queue: on a full disk
the thread dies and the training loop waits for it for ever. Its EventsWriter just writes.
"""

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class TensorBoard:
    """One TensorBoard run per seed: ``tensorboard/<seed>/events...``."""

    def __init__(self, folder: Path, *, seeds: Sequence[int], resume_at: int):
        # Here, not at the top: tensorboardX imports torch where that is installed.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._writers = []
        for seed in seeds:
            (folder / str(seed)).mkdir(parents=True, exist_ok=True)
            # Names hold the second only: a quick second start must not overwrite the first's file.
            writer = EventsWriter(str(folder / str(seed) / 'events'), f'.{time.time_ns() % 10**9}')
            if resume_at:
                # TensorBoard then hides what a dead process wrote after its last checkpoint.
                start = SessionLog(status=SessionLog.START)
                event = Event(wall_time=time.time(), step=resume_at + 1, session_log=start)
                writer.write_event(event)
            writer.flush()
            self._writers.append(writer)

    def scalars(self, step: int, values: Mapping[str, Sequence[float]]) -> None:
        """One value a seed under each name, on the disk when this returns."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        now = time.time()
        for i, writer in enumerate(self._writers):
            scalars = [Summary.Value(tag=k, simple_value=float(v[i])) for k, v in values.items()]
            writer.write_event(Event(wall_time=now, step=step, summary=Summary(value=scalars)))
            writer.flush()

    def image(self, step: int, name: str, png: bytes) -> None:
        """A picture of the first seed."""
        from PIL import Image
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        width, height = Image.open(io.BytesIO(png)).size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._writers[0].write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writers[0].flush()

    def audio(self, step: int, name: str, wav: bytes, *, rate: int) -> None:
        """A sound of the first seed, at `rate` Hz."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        audio = Summary.Audio(
            sample_rate=rate, num_channels=1, encoded_audio_string=wav, content_type='audio/wav'
        )
        summary = Summary(value=[Summary.Value(tag=name, audio=audio)])
        self._writers[0].write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writers[0].flush()

    def text(self, step: int, name: str, lines: Sequence[str]) -> None:
        """Lines of text of the first seed."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import text

        # Four spaces: TensorBoard renders Markdown, and samples are to be shown as they are.
        summary = text(name, '\n'.join(f'    {line}' for line in lines))
        self._writers[0].write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writers[0].flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers:
            writer.close()
