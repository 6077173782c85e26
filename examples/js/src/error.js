// A failed call: nothing that it wrote or made remains. The codes are those of wit/deps/driver/types.wit; the user of docker reads the message.
// An error of WIT is the payload of an Error, here as in what the host's functions throw. An Error without one counts as a crash.
export class DriverError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
    this.payload = { code, message };
  }
}
