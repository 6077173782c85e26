// What the doubles remember. A test begins with forget().
export const memory = {};

export function forget() {
  Object.assign(memory, { state: new Map(), directories: new Map(), links: new Map(), config: new Map(), log: [] });
}

forget();

// What the host's functions throw.
export const refusal = (payload) => Object.assign(new Error('refused'), { payload });
