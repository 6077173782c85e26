import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { network } from '../src/network.js';
import { forget, memory } from './host/memory.js';

beforeEach(forget);

const cidr = (text, prefixLength = 24) => ({ address: { tag: 'ipv4', val: text.split('.').map(Number) }, prefixLength });
const data = [{ addressSpace: 'local', pool: cidr('10.0.0.0'), gateway: cidr('10.0.0.1'), auxAddresses: [] }];
const create = (options = {}) => network.createNetwork('net', { generic: [], internal: false, ...options }, data, []);

test('a container gets one end of a cable whose other end is in the bridge', () => {
  for (let again = 0; again < 2; again += 1) create();
  assert.deepEqual(memory.links.get('bridge/net').addresses, [cidr('10.0.0.1')]);
  const { macAddress } = network.createEndpoint('net', 'end', { address: cidr('10.0.0.2') });
  assert.equal(macAddress[0] & 3, 2);
  // Again, as after a lost answer.
  assert.deepEqual(network.createEndpoint('net', 'end', { address: cidr('10.0.0.2') }), { macAddress });
  assert.equal(memory.links.get('port/end').master, 'bridge/net');
  const answer = network.join('net', 'end', '/sandbox');
  assert.equal(answer.interface.key(), 'container/end');
  assert.deepEqual(answer.gateway.val, [10, 0, 0, 1]);
  assert.throws(() => network.join('net', 'end', '/sandbox'), { code: 'in-use' });
  for (let again = 0; again < 2; again += 1) {
    network.leave('net', 'end');
    network.deleteEndpoint('net', 'end');
    network.deleteNetwork('net');
  }
  assert.equal(memory.links.size + memory.state.size, 0);
});

test('an internal network has no gateway', () => {
  create({ internal: true });
  network.createEndpoint('net', 'end', { macAddress: [2, 0, 0, 0, 0, 1] });
  assert.equal(network.join('net', 'end', '/sandbox').gateway, undefined);
});

test('what Docker sent does not come back', () => {
  create();
  assert.deepEqual(network.createEndpoint('net', 'end', { macAddress: [2, 0, 0, 0, 0, 1] }), {});
});

test('the same ID with other properties is an error', () => {
  create();
  assert.throws(() => create({ internal: true }), { code: 'already-exists' });
  network.createEndpoint('net', 'end', { address: cidr('10.0.0.2') });
  assert.throws(() => network.createEndpoint('net', 'end', { address: cidr('10.0.0.3') }), { code: 'already-exists' });
});

test('a network takes its endpoints along', () => {
  create();
  for (const id of ['one', 'two', 'three']) network.createEndpoint('net', id, {});
  network.deleteNetwork('net');
  assert.equal(memory.links.size + memory.state.size, 0);
});

test('a bridge that went with a restart of the machine is made again', () => {
  create({ generic: [['com.docker.network.driver.mtu', '1400']] });
  memory.links.clear();
  network.createEndpoint('net', 'end', {});
  assert.equal(memory.links.get('bridge/net').mtu, 1400);
  assert.equal(memory.links.get('container/end').mtu, 1400);
});

test('addresses that do not fit together are refused', () => {
  create();
  const other = (pool, gateway) =>
    network.createNetwork('other', { generic: [], internal: false }, [{ ...data[0], pool, gateway }], []);
  assert.throws(() => other(cidr('10.0.0.128', 25), cidr('10.0.0.129', 25)), { code: 'in-use' });
  assert.throws(() => other(cidr('10.0.1.0'), cidr('10.0.2.1')), { code: 'invalid-argument' });
  other(cidr('10.0.1.0'), cidr('10.0.1.1'));
});

test('what makes no sense or is not there is refused', () => {
  for (const option of [['com.docker.network.driver.mtu', '67'], ['com.docker.network.driver.mtu', 'x'], ['colour', 'red']]) {
    assert.throws(() => create({ generic: [option] }), { code: 'invalid-argument' }, option);
  }
  assert.throws(() => network.createEndpoint('net', 'end', {}), { code: 'not-found' });
  create();
  for (const call of ['join', 'endpointOperInfo']) {
    assert.throws(() => network[call]('net', 'end', ''), { code: 'not-found' }, call);
  }
});
