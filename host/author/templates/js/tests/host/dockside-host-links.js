{% if network %}
import { memory, refusal } from './memory.js';

function add(key, link) {
  if (memory.links.has(key)) throw refusal({ code: 'already-exists', message: `there is a link ${key} already` });
  memory.links.set(key, { key, addresses: [], ...link });
  return open(key);
}

export function open(key) {
  const link = memory.links.get(key);
  if (!link) throw refusal({ code: 'not-found', message: `there is no link ${key}` });
  return {
    key: () => key,
    addAddress: (address) => void link.addresses.push(address),
    setMaster: (bridge) => void (link.master = bridge.key()),
  };
}

export const create = (key, kind, settings) => add(key, { kind: kind.tag, ...settings });

export function createPair(key, peer, settings) {
  return [add(key, { kind: 'veth', peer, ...settings }), add(peer, { kind: 'veth', peer: key, ...settings, mac: undefined })];
}

const remove = (key) => {
  const { peer } = memory.links.get(key) ?? {};
  if (!memory.links.delete(key)) throw refusal({ code: 'not-found', message: `there is no link ${key}` });
  memory.links.delete(peer);
};
export { remove as delete };
{% endif %}
