import { memory, refusal } from './memory.js';

const handle = (key) => ({ key: () => key });

export function create(key, attributes) {
  if (memory.directories.has(key)) throw refusal({ tag: 'already-exists' });
  memory.directories.set(key, attributes);
  return handle(key);
}

export function open(key) {
  if (!memory.directories.has(key)) throw refusal({ tag: 'not-found' });
  return handle(key);
}

export function remove(key) {
  if (!memory.directories.delete(key)) throw refusal({ tag: 'not-found' });
}
