import { memory } from './memory.js';

export const get = (key) => memory.config.get(key);
