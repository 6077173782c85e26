"""What the component exports: a class for each kind, as wit/deps/driver/KIND.wit declares it."""

{% for kind in kinds %}
from {= kind =} import {= kind|capitalize =}
{% endfor %}

__all__ = [{% for kind in kinds %}"{= kind|capitalize =}"{= ", " if not loop.last =}{% endfor %}]
