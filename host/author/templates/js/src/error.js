// A failed call: nothing that it wrote or made remains. The codes are those of wit/deps/driver/types.wit; the user of docker reads the message.
// It is no Error, because an Error that leaves a function counts as a crash.
export class DriverError {
  constructor(code, message) {
    this.code = code;
    this.message = message;
  }
}
