// Addresses for networks: pools, and the addresses of each that are held, in the plugin's state.
import { DriverError } from './error.js';
import { bits, cidrOf, contains, endOf, numberOf, overlap, show, sizeOf, subnetOf, textOf, usable } from './subnet.js';
import { Table } from './table.js';

// Where subnets for networks without --subnet come from, and how large they are: 10.99.0.0/16 in steps of /24, and
// fd00:d0c5:1de0::/48 in steps of /64. Make the second one yours: RFC 4193 wants 40 random bits behind fd.
const OFFERED = {
  ipv4: { from: { v6: false, base: 0x0a63_0000n, prefix: 16 }, prefix: 24 },
  ipv6: { from: { v6: true, base: 0xfd00_d0c5_1de0n << 80n, prefix: 48 }, prefix: 64 },
};
const SPACES = { local: 'local', global: 'global' };

// A pool: { space, v6, base, prefix, first, last, next, networks }, numbers of addresses as text. `next` is where the search for a free address
// begins: what was released is not given to the next one who asks. `networks` counts the requests for the same pool.
const pools = new Table('pools/');
// Keys: the pool's name and the address.
const leases = new Table('leases/');
const leaseOf = (id, v6, number) => `${id}/${textOf(v6, number)}`;

const invalid = (text) => new DriverError('invalid-argument', text);

const subnetIn = ({ v6, base, prefix }) => ({ v6, base: BigInt(base), prefix });

function held(space, v6) {
  const all = pools.keys().map((id) => pools.get(id));
  return all.filter((pool) => pool.space === space && pool.v6 === v6).map(subnetIn);
}

// Why a subnet cannot be that of a network; undefined if it can.
function objection({ v6, base, prefix }, wanted6) {
  if (v6 !== wanted6) return `is no IPv${wanted6 ? 6 : 4} subnet`;
  if (base % sizeOf({ v6, prefix }) !== 0n) return 'has bits behind its prefix';
  if (prefix < 8) return 'is larger than a /8';
  const first = Number(base >> BigInt(bits(v6) - 8));
  if (v6 ? first === 0 || first === 0xff : first === 0 || first === 127 || first >= 224) return 'is not for networks';
  return undefined;
}

// A subnet that overlaps with none of those that are held. Never the same one twice while it is held: Docker asks on until it likes one.
function offer(v6, taken) {
  const { from, prefix } = v6 ? OFFERED.ipv6 : OFFERED.ipv4;
  for (let subnet = { v6, base: from.base, prefix }; contains(from, subnet); subnet = { ...subnet, base: endOf(subnet) + 1n }) {
    if (!taken.some((other) => overlap(subnet, other))) return subnet;
  }
  throw new DriverError('exhausted', `every /${prefix} of ${show(from)} is held: remove a network, or name a subnet with --subnet`);
}

export const ipam = {
  getCapabilities() {
    return { requiresMacAddress: false, requiresRequestReplay: false };
  },

  getDefaultAddressSpaces() {
    return SPACES;
  },

  requestPool({ addressSpace: space, pool, subPool, ipv6: v6 }) {
    if (!(space in SPACES)) throw invalid(`there is no address space ${JSON.stringify(space)}: say local or global`);
    if (subPool && !pool) throw invalid('--ip-range needs a --subnet that it is a part of');
    const taken = held(space, v6);
    const subnet = pool ? subnetOf(pool) : offer(v6, taken);
    const why = objection(subnet, v6);
    if (why) throw invalid(`${show(subnet)} ${why}`);
    const range = subPool ? subnetOf(subPool) : subnet;
    if (range.v6 !== v6 || !contains(subnet, range)) throw invalid(`--ip-range ${show(range)} is not a part of ${show(subnet)}`);

    const id = `${space}/${show(subnet)}${subPool ? `+${show(range)}` : ''}`;
    const known = pools.get(id);
    if (known) {
      pools.set(id, { ...known, networks: known.networks + 1 });
    } else {
      const other = taken.find((one) => overlap(subnet, one));
      if (other) throw new DriverError('in-use', `${show(subnet)} overlaps with ${show(other)}, which is held: choose another --subnet`);
      const [low, high] = usable(subnet);
      const first = range.base > low ? range.base : low;
      const last = endOf(range) < high ? endOf(range) : high;
      if (first > last) throw invalid(`--ip-range ${show(range)} has no address that a container can have`);
      pools.set(id, {
        space,
        v6,
        base: `${subnet.base}`,
        prefix: subnet.prefix,
        first: `${first}`,
        last: `${last}`,
        next: `${first}`,
        networks: 1,
      });
    }
    return { poolId: id, pool: cidrOf(subnet, subnet.base), data: [] };
  },

  releasePool(id) {
    const pool = pools.get(id);
    if (!pool) return;
    if (pool.networks > 1) {
      pools.set(id, { ...pool, networks: pool.networks - 1 });
      return;
    }
    for (const key of leases.keys()) {
      if (key.startsWith(`${id}/`)) leases.delete(key);
    }
    pools.delete(id);
  },

  requestAddress({ poolId: id, address, gateway }) {
    const pool = pools.get(id);
    if (!pool) throw new DriverError('not-found', `there is no pool ${JSON.stringify(id)}`);
    const subnet = subnetIn(pool);
    const number = address ? wanted(id, subnet, address) : nextFree(id, pool);
    leases.set(leaseOf(id, pool.v6, number), { gateway });
    return { address: cidrOf(subnet, number), data: [] };
  },

  releaseAddress(id, address) {
    leases.delete(leaseOf(id, address.tag === 'ipv6', numberOf(address)));
  },
};

// The address that was asked for. It may lie outside of --ip-range, as gateways do.
function wanted(id, subnet, address) {
  const number = numberOf(address);
  const text = textOf(address.tag === 'ipv6', number);
  const [low, high] = usable(subnet);
  if ((address.tag === 'ipv6') !== subnet.v6 || number < low || number > high) {
    throw invalid(`${text} is no address that a container in ${show(subnet)} can have`);
  }
  if (leases.has(leaseOf(id, subnet.v6, number))) throw new DriverError('in-use', `${text} is in use already`);
  return number;
}

function nextFree(id, pool) {
  const [first, last] = [BigInt(pool.first), BigInt(pool.last)];
  let number = BigInt(pool.next);
  for (let left = last - first + 1n; left > 0n; left -= 1n) {
    const after = number < last ? number + 1n : first;
    if (!leases.has(leaseOf(id, pool.v6, number))) {
      pools.set(id, { ...pool, next: `${after}` });
      return number;
    }
    number = after;
  }
  throw new DriverError('exhausted', `every address of ${show(subnetIn(pool))} is in use: remove a container, or take a larger --subnet`);
}
