// What the component exports: an object of functions for each kind, as wit/deps/driver/KIND.wit declares them.
{% for kind in kinds %}
export { {= kind =} } from './{= kind =}.js';
{% endfor %}
