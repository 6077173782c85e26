// Values as JSON in the plugin's durable state, under keys with one prefix. What a call writes becomes final when it succeeds.
import { open } from 'wasi:keyvalue/store@0.2.0-draft';

// QuickJS has no TextEncoder.
const encode = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (char) => char.charCodeAt(0));
const decode = (bytes) => decodeURIComponent(escape(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')));

export class Table {
  constructor(prefix) {
    this.prefix = prefix;
  }

  get(key) {
    const value = open('').get(this.prefix + key);
    return value ? JSON.parse(decode(value)) : undefined;
  }

  set(key, value) {
    open('').set(this.prefix + key, encode(JSON.stringify(value)));
  }

  delete(key) {
    open('').delete(this.prefix + key);
  }

  has(key) {
    return open('').exists(this.prefix + key);
  }

  // All keys, in order of their bytes. The host is asked for all keys of the plugin.
  keys() {
    const found = [];
    let cursor;
    do {
      const page = open('').listKeys(cursor);
      found.push(...page.keys.filter((key) => key.startsWith(this.prefix)).map((key) => key.slice(this.prefix.length)));
      cursor = page.cursor;
    } while (cursor !== null && cursor !== undefined);
    return found;
  }
}
