//! The driver {= name =}.

{% for kind in kinds %}
mod {= kind =};
{% endfor %}

struct Driver;

dockside_driver::export!(Driver: {= kinds|join(", ") =}{= ", options" if volume =});
