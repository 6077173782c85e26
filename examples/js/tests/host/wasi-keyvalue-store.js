import { memory, refusal } from './memory.js';

export function open(name) {
  if (name !== '') throw refusal({ tag: 'no-such-store' });
  return {
    get: (key) => memory.state.get(key),
    set: (key, value) => void memory.state.set(key, value),
    delete: (key) => void memory.state.delete(key),
    exists: (key) => memory.state.has(key),
    // Two keys on a page, so that tests see more than one.
    listKeys(cursor = 0) {
      const keys = [...memory.state.keys()].sort().slice(cursor);
      return { keys: keys.slice(0, 2), cursor: keys.length > 2 ? cursor + 2 : null };
    },
  };
}
