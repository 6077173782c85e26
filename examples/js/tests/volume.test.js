import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { volume } from '../src/volume.js';
import { forget, memory } from './host/memory.js';

beforeEach(forget);

test('a volume lives from create to remove', () => {
  for (let again = 0; again < 2; again += 1) volume.create('data', [['mode', '0750']]);
  assert.equal(memory.directories.get('data').mode, 0o750);
  assert.equal(volume.mount('data', 'container').key(), 'data');
  assert.equal(volume.path('data').key(), 'data');
  volume.unmount('data', 'container');
  assert.deepEqual(volume.get('data').status, [['mode', '0750']]);
  for (const name of ['b/../ü', 'c', 'd']) volume.create(name, []);
  assert.deepEqual(volume.list().map(({ name }) => name), ['b/../ü', 'c', 'd', 'data']);
  for (const name of ['data', 'data', 'b/../ü', 'c', 'd']) volume.remove(name);
  assert.throws(() => volume.get('data'), { code: 'not-found' });
  assert.equal(memory.state.size + memory.directories.size, 0);
});

test('the same name with other options is an error', () => {
  volume.create('data', [['mode', '0750']]);
  assert.throws(() => volume.create('data', []), { code: 'already-exists' });
});

test('options that make no sense are refused', () => {
  for (const option of [['mode', 'rwx'], ['mode', ''], ['mode', '77777'], ['size', '1g']]) {
    assert.throws(() => volume.create('data', [option]), { code: 'invalid-argument' }, option);
  }
  assert.equal(memory.state.size, 0);
});

test('a volume whose directory is gone is not unknown', () => {
  volume.create('data', []);
  memory.directories.clear();
  assert.equal(volume.get('data').mountpoint, undefined);
  assert.throws(() => volume.mount('data', 'container'), { code: 'unavailable' });
  volume.remove('data');
  assert.throws(() => volume.get('data'), { code: 'not-found' });
});
