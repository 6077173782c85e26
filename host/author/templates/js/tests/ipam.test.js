import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { ipam } from '../src/ipam.js';
import { subnetOf, textOf } from '../src/subnet.js';
import { forget, memory } from './host/memory.js';

beforeEach(forget);

const ipv4 = (text) => ({ tag: 'ipv4', val: text.split('.').map(Number) });
const ipv6 = (...val) => ({ tag: 'ipv6', val });
const cidr = (address, prefixLength) => ({ address, prefixLength });
const pool = (wish = {}) => ipam.requestPool({ addressSpace: 'local', ipv6: false, ...wish });
const subnet = (text, prefix) => pool({ pool: cidr(ipv4(text), prefix) }).poolId;
const address = (poolId, wanted, gateway = false) => {
  const { address: given, prefixLength } = ipam.requestAddress({ poolId, address: wanted, gateway }).address;
  const { v6, base } = subnetOf({ address: given, prefixLength });
  return `${textOf(v6, base)}/${prefixLength}`;
};

test('addresses come in order, and a released one is not the next', () => {
  const id = subnet('10.0.0.0', 24);
  assert.equal(address(id, undefined, true), '10.0.0.1/24');
  assert.equal(address(id), '10.0.0.2/24');
  ipam.releaseAddress(id, ipv4('10.0.0.2'));
  assert.equal(address(id), '10.0.0.3/24');
  assert.equal(address(id, ipv4('10.0.0.2')), '10.0.0.2/24');
});

test('a pool has so many addresses', () => {
  for (const [prefix, count] of [[29, 6], [30, 2], [31, 2], [32, 1]]) {
    const id = subnet(`10.0.${prefix}.0`, prefix);
    const given = Array.from({ length: count }, () => address(id));
    assert.equal(new Set(given).size, count);
    assert.throws(() => address(id), { code: 'exhausted' }, prefix);
    ipam.releaseAddress(id, ipv4(given[0].split('/')[0]));
    assert.equal(address(id), given[0]);
  }
});

test('an address that is wanted is given once, and only if a container can have it', () => {
  const id = subnet('10.0.0.0', 24);
  assert.equal(address(id, ipv4('10.0.0.9')), '10.0.0.9/24');
  assert.throws(() => address(id, ipv4('10.0.0.9')), { code: 'in-use' });
  for (const wanted of [ipv4('10.0.0.0'), ipv4('10.0.0.255'), ipv4('10.0.1.1'), ipv6(0xfd00, 0, 0, 0, 0, 0, 0, 1)]) {
    assert.throws(() => address(id, wanted), { code: 'invalid-argument' }, wanted);
  }
  assert.throws(() => address('local/10.9.0.0/24'), { code: 'not-found' });
});

test('a range is where addresses come from, and a gateway may lie outside', () => {
  const { poolId } = pool({ pool: cidr(ipv4('10.0.0.0'), 24), subPool: cidr(ipv4('10.0.0.128'), 30) });
  const given = Array.from({ length: 4 }, () => address(poolId));
  assert.deepEqual(given, ['10.0.0.128/24', '10.0.0.129/24', '10.0.0.130/24', '10.0.0.131/24']);
  assert.throws(() => address(poolId), { code: 'exhausted' });
  assert.equal(address(poolId, ipv4('10.0.0.1'), true), '10.0.0.1/24');
});

test('the same pool again counts, and another one may not overlap', () => {
  const id = subnet('10.0.0.0', 24);
  assert.equal(subnet('10.0.0.0', 24), id);
  assert.throws(() => subnet('10.0.0.128', 25), { code: 'in-use' });
  pool({ addressSpace: 'global', pool: cidr(ipv4('10.0.0.128'), 25) });
  address(id);
  ipam.releasePool(id);
  address(id);
  for (let again = 0; again < 2; again += 1) ipam.releasePool(id);
  assert.throws(() => address(id), { code: 'not-found' });
  ipam.releasePool('global/10.0.0.128/25');
  assert.equal(memory.state.size, 0);
});

test('subnets that are offered never overlap', () => {
  for (const wish of [{}, { ipv6: true }]) {
    const given = Array.from({ length: 20 }, () => pool(wish).poolId);
    assert.equal(new Set(given).size, 20);
  }
  assert.equal(pool({ ipv6: true }).pool.prefixLength, 64);
  const id = pool({ ipv6: true, pool: cidr(ipv6(0xfd77, 0, 0, 0, 0, 0, 0, 0), 64) }).poolId;
  assert.equal(address(id), 'fd77:0:0:0:0:0:0:1/64');
});

test('pools that make no sense are refused', () => {
  for (const wish of [
    { addressSpace: 'mine' },
    { subPool: cidr(ipv4('10.0.0.0'), 25) },
    { pool: cidr(ipv4('10.0.0.1'), 24) },
    { pool: cidr(ipv4('0.0.0.0'), 0) },
    { pool: cidr(ipv4('127.0.0.0'), 16) },
    { pool: cidr(ipv4('10.0.0.0'), 24), ipv6: true },
    { pool: cidr(ipv4('10.0.0.0'), 24), subPool: cidr(ipv4('10.0.1.0'), 25) },
  ]) {
    assert.throws(() => pool(wish), { code: 'invalid-argument' }, JSON.stringify(wish));
  }
});
