import { memory } from './memory.js';

export function log(level, context, message) {
  memory.log.push(`${level} ${context}: ${message}`);
}
