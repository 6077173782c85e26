// Networks as bridges: each endpoint is a cable from the bridge into its container.
import * as links from 'dockside:host/links@0.1.0';
import { getRandomBytes } from 'wasi:random/random@0.2.6';
import { DriverError } from './error.js';
import { contains, overlap, show, subnetOf } from './subnet.js';
import { Table } from './table.js';

const MTU = 'com.docker.network.driver.mtu';

const networks = new Table('networks/');
// Keys: the network's ID and the endpoint's.
const endpoints = new Table('endpoints/');

const bridgeKey = (networkId) => `bridge/${networkId}`;
// The two ends of a cable: in the bridge, and in the container.
const portKey = (endpointId) => `port/${endpointId}`;
const containerKey = (endpointId) => `container/${endpointId}`;

// A function of the host's, with its refusal as the user of docker is told it.
function asked(work) {
  try {
    return work();
  } catch (error) {
    if (!error.payload) throw error;
    const codes = {
      'already-exists': 'already-exists',
      'in-use': 'in-use',
      unreachable: 'unavailable',
      exhausted: 'exhausted',
      invalid: 'invalid-argument',
    };
    throw new DriverError(codes[error.payload.code] ?? 'other', error.payload.message);
  }
}

// Undefined for what is not there.
function unlessMissing(work) {
  try {
    return work();
  } catch (error) {
    if (error.payload?.code === 'not-found') return undefined;
    throw error;
  }
}

function mtuOf(options) {
  let mtu;
  for (const [name, value] of options.generic) {
    if (name !== MTU) throw new DriverError('invalid-argument', `there is no option ${name}: this driver has ${MTU}`);
    mtu = Number(value);
    if (!Number.isInteger(mtu) || mtu < 68 || mtu > 65535) {
      throw new DriverError('invalid-argument', `option ${MTU}=${value}: say a number from 68 to 65535`);
    }
  }
  return mtu;
}

function findNetwork(id) {
  const network = networks.get(id);
  if (network) return network;
  throw new DriverError('not-found', `there is no network ${id}: remove it with docker network rm, and create it again`);
}

function findEndpoint(networkId, endpointId) {
  const endpoint = endpoints.get(`${networkId}/${endpointId}`);
  if (endpoint) return endpoint;
  throw new DriverError('not-found', `there is no endpoint ${endpointId} on network ${networkId}`);
}

// Addresses that do not fit together make a network that does not work.
function checkAddresses(id, data) {
  const taken = networks.keys().filter((other) => other !== id).flatMap((other) => networks.get(other).pools);
  for (const { pool, gateway, auxAddresses } of data) {
    if (!pool) continue;
    const subnet = subnetOf(pool);
    for (const address of [gateway, ...auxAddresses.map(([, aux]) => aux)]) {
      if (!address || contains(subnet, { ...subnetOf(address), prefix: subnet.v6 ? 128 : 32 })) continue;
      throw new DriverError('invalid-argument', `${show(subnetOf(address))} is not in the subnet ${show(subnet)}`);
    }
    const other = taken.map(subnetOf).find((one) => one.v6 === subnet.v6 && overlap(one, subnet));
    if (other) throw new DriverError('in-use', `${show(subnet)} overlaps with ${show(other)} of another network`);
  }
}

// The network's bridge. It is made again if it is gone: a restart of the machine takes it, and Docker says nothing.
function bridge(id, { gateways, mtu }) {
  const known = unlessMissing(() => links.open(bridgeKey(id)));
  if (known) return known;
  const kind = { tag: 'bridge', val: { stp: false, multicastSnooping: false } };
  const made = links.create(bridgeKey(id), kind, { mtu, up: true });
  gateways.forEach((gateway) => made.addAddress(gateway));
  return made;
}

const gatewayOf = ({ gateways, internal }, family) =>
  internal ? undefined : gateways.map((gateway) => gateway.address).find((address) => address.tag === family);

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

const missing = (method) => {
  throw new DriverError('not-implemented', `this driver does not have NetworkDriver.${method}`);
};

export const network = {
  getCapabilities() {
    return { scope: 'local', gwAllocChecker: false };
  },

  createNetwork(id, options, ipv4, ipv6) {
    const data = [...ipv4, ...ipv6];
    const wanted = {
      pools: data.flatMap(({ pool }) => (pool ? [pool] : [])),
      gateways: data.flatMap(({ gateway }) => (gateway ? [gateway] : [])),
      internal: options.internal,
      mtu: mtuOf(options),
    };
    const known = networks.get(id);
    if (known) {
      if (same(known, wanted)) return;
      throw new DriverError('already-exists', `network ${id} exists already, with other options or addresses`);
    }
    checkAddresses(id, data);
    asked(() => bridge(id, wanted));
    networks.set(id, wanted);
  },

  deleteNetwork(id) {
    for (const key of endpoints.keys()) {
      if (key.startsWith(`${id}/`)) network.deleteEndpoint(id, key.slice(id.length + 1));
    }
    asked(() => unlessMissing(() => links.delete(bridgeKey(id))));
    networks.delete(id);
  },

  createEndpoint(networkId, endpointId, { address, addressIpv6, macAddress }) {
    const net = findNetwork(networkId);
    const wanted = { address, addressIpv6, macAddress };
    const key = `${networkId}/${endpointId}`;
    const known = endpoints.get(key);
    if (known && !same(known.wanted, wanted)) {
      throw new DriverError('already-exists', `endpoint ${endpointId} exists already, with other addresses`);
    }
    // Two bits of the first byte: for one link, and given out by no manufacturer.
    const mac = known?.mac ?? macAddress ?? [...getRandomBytes(6)].map((byte, at) => (at === 0 ? (byte & 0xfc) | 2 : byte));
    if (!known) {
      asked(() => {
        const [, port] = links.createPair(containerKey(endpointId), portKey(endpointId), { mtu: net.mtu, mac, up: true });
        port.setMaster(bridge(networkId, net));
      });
      endpoints.set(key, { wanted, mac });
    }
    // Docker fails the start of the container if what it sent comes back.
    return macAddress ? {} : { macAddress: mac };
  },

  deleteEndpoint(networkId, endpointId) {
    const key = `${networkId}/${endpointId}`;
    if (!endpoints.has(key)) return;
    asked(() => unlessMissing(() => links.delete(portKey(endpointId))));
    endpoints.delete(key);
  },

  endpointOperInfo(networkId, endpointId) {
    findEndpoint(networkId, endpointId);
    return [];
  },

  join(networkId, endpointId, sandbox) {
    const net = findNetwork(networkId);
    const endpoint = findEndpoint(networkId, endpointId);
    if (endpoint.sandbox !== undefined) throw new DriverError('in-use', `endpoint ${endpointId} is joined already`);
    endpoints.set(`${networkId}/${endpointId}`, { ...endpoint, sandbox });
    return {
      interface: asked(() => links.open(containerKey(endpointId))),
      dstPrefix: 'eth',
      gateway: gatewayOf(net, 'ipv4'),
      gatewayIpv6: gatewayOf(net, 'ipv6'),
      staticRoutes: [],
      // Without a gateway Docker would connect the container to a bridge of its own.
      disableGatewayService: true,
    };
  },

  leave(networkId, endpointId) {
    const { sandbox, ...endpoint } = endpoints.get(`${networkId}/${endpointId}`) ?? {};
    if (sandbox !== undefined) endpoints.set(`${networkId}/${endpointId}`, endpoint);
  },

  // What this driver has no use for. Docker takes "not implemented" for an answer.
  allocateNetwork: () => missing('AllocateNetwork'),
  freeNetwork: () => missing('FreeNetwork'),
  gwAllocCheck: () => missing('GwAllocCheck'),
  programExternalConnectivity: () => missing('ProgramExternalConnectivity'),
  revokeExternalConnectivity: () => missing('RevokeExternalConnectivity'),
  discoverNew() {},
  discoverDelete() {},
};
