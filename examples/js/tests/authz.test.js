import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { authz } from '../src/authz.js';
import { forget, memory } from './host/memory.js';

beforeEach(() => {
  forget();
  memory.config.set('administrators', 'root, alice');
});

const ask = (path, content, user, method = 'POST') => {
  const body = content === undefined ? { tag: 'none' } : { tag: 'json', val: JSON.stringify(content) };
  return authz.authzReq({ user, method, path: path.split('/'), body });
};

test('ordinary requests are allowed', () => {
  for (const line of ['GET info', 'GET images/json', 'DELETE containers/x', 'PUT containers/x/archive', 'POST images/shop/web/push']) {
    const [method, path] = line.split(' ');
    assert.equal(ask(path, undefined, undefined, method).tag, 'allow', line);
  }
  for (const [path, content] of [
    ['containers/create', { Image: 'busybox' }],
    ['containers/create', { HostConfig: { Binds: ['data:/data'], Mounts: [{ Type: 'volume', Source: 'data' }], NetworkMode: 'default' } }],
    ['containers/x/exec', { Cmd: ['true'] }],
    ['volumes/create', { Name: 'data', DriverOpts: { mode: '0750' } }],
    ['containers/x/start', undefined],
  ]) {
    assert.equal(ask(path, content).tag, 'allow', JSON.stringify(content));
  }
});

const HARMFUL = [
  ['containers/create', { HostConfig: { Privileged: true } }],
  ['containers/create', { HostConfig: { Privileged: 'true' } }],
  ['containers/create', { HostConfig: { Binds: ['/:/host'] } }],
  ['containers/create', { HostConfig: { Mounts: [{ Type: 'bind', Source: '/' }] } }],
  ['containers/create', { HostConfig: { Mounts: [{ Type: 'volume', VolumeOptions: { DriverConfig: { Options: { o: 'bind' } } } }] } }],
  ['containers/create', { HostConfig: { PidMode: 'host' } }],
  ['containers/x/exec', { Privileged: true }],
  ['containers/x/start', { Privileged: true }],
  ['volumes/create', { DriverOpts: { type: 'none', o: 'bind', device: '/' } }],
  ['session', undefined],
  ['grpc', undefined],
];

test('what leads to the machine is denied, but not to administrators', () => {
  for (const [path, content] of HARMFUL) {
    for (const user of [undefined, '', 'bob', 'Alice', 'alice, root']) {
      const decision = ask(path, content, user);
      assert.equal(decision.tag, 'deny', `${user} ${path} ${JSON.stringify(content)}`);
      assert.ok(decision.val);
    }
    assert.equal(ask(path, content, 'alice').tag, 'allow');
  }
});

test('without a list there is no administrator', () => {
  memory.config.clear();
  assert.equal(ask(...HARMFUL[0], '').tag, 'deny');
});

test('what the policy does not know is denied', () => {
  for (const line of [
    'POST plugins/pull',
    'POST containers/create/auth',
    'POST version1.41/containers/create',
    'POST auth/x',
    'OPTIONS containers/create',
    'DELETE containers/x/y',
  ]) {
    const [method, path] = line.split(' ');
    assert.equal(ask(path, { Image: 'busybox' }, undefined, method).tag, 'deny', line);
  }
});

test('a body that is not there is no harmless one', () => {
  for (const body of [{ tag: 'none' }, { tag: 'stream' }, { tag: 'json', val: 'null' }, { tag: 'json', val: '[]' }]) {
    assert.equal(authz.authzReq({ method: 'POST', path: ['containers', 'create'], body }).tag, 'deny');
  }
});
