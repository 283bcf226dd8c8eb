"""Families as Prometheus reads them; the one door to prometheus_client."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mover.metrics import Family, Kind


class _Told(Collector):
    """Families that were made elsewhere, as the library asks for them."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return map(_metric, self._families)


def as_text(families: Sequence[Family]) -> bytes:
    """The text format 0.0.4: for files, and for whoever asks for nothing else."""
    return generate_latest(_Told(families))


def as_asked(families: Sequence[Family], accept: str) -> tuple[bytes, str]:
    """The format that an ``Accept`` header prefers, OpenMetrics too, and its content type."""
    encode: Callable[[Collector], bytes]
    encode, content_type = choose_encoder(accept)
    return encode(_Told(families)), content_type


def _metric(family: Family) -> Metric:
    labels = list(family.samples[0].labels) if family.samples else []
    metric: GaugeMetricFamily | CounterMetricFamily
    if family.kind is Kind.COUNTER:
        metric = CounterMetricFamily(family.name, family.help, labels=labels)
    else:
        metric = GaugeMetricFamily(family.name, family.help, labels=labels)
    for sample in family.samples:
        metric.add_metric([_readable(text) for text in sample.labels.values()], sample.value)
    return metric


def _readable(text: str) -> str:
    """The text as valid UTF-8: a host's name may hold any byte."""
    return text.encode("utf-8", "backslashreplace").decode()
