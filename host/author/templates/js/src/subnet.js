{% if network or ipam %}
// Arithmetic with addresses: numbers as BigInt, subnets as { v6, base, prefix }.

export const bits = (v6) => (v6 ? 128 : 32);
export const sizeOf = ({ v6, prefix }) => 1n << BigInt(bits(v6) - prefix);
export const endOf = (subnet) => subnet.base + sizeOf(subnet) - 1n;
export const contains = (outer, inner) => inner.base >= outer.base && endOf(inner) <= endOf(outer);
export const overlap = (one, other) => one.base <= endOf(other) && other.base <= endOf(one);

// The address of WIT as a number, and back.
export function numberOf({ tag, val }) {
  const step = tag === 'ipv6' ? 16n : 8n;
  return val.reduce((number, part) => (number << step) | BigInt(part), 0n);
}

export function partsOf(v6, number) {
  const step = v6 ? 16 : 8;
  const parts = [];
  for (let shift = bits(v6) - step; shift >= 0; shift -= step) {
    parts.push(Number((number >> BigInt(shift)) & ((1n << BigInt(step)) - 1n)));
  }
  return parts;
}

export const addressOf = (v6, number) => ({ tag: v6 ? 'ipv6' : 'ipv4', val: partsOf(v6, number) });
export const textOf = (v6, number) =>
  v6 ? partsOf(v6, number).map((part) => part.toString(16)).join(':') : partsOf(v6, number).join('.');

// The cidr of WIT as a subnet, and back.
export const subnetOf = ({ address, prefixLength }) => ({
  v6: address.tag === 'ipv6',
  base: numberOf(address),
  prefix: prefixLength,
});
export const cidrOf = ({ v6, prefix }, number) => ({ address: addressOf(v6, number), prefixLength: prefix });
export const show = ({ v6, base, prefix }) => `${textOf(v6, base)}/${prefix}`;

// The first and the last address that a container can have.
export function usable(subnet) {
  const { v6, base } = subnet;
  const last = endOf(subnet);
  if (sizeOf(subnet) <= 2n) return [base, last];
  // The first one is the network's, or that of any router (RFC 4291, 2.6.1); the last one IPv4's broadcast address.
  return [base + 1n, v6 ? last : last - 1n];
}
{% endif %}
