/** Serialising with the errors of `structuredClone()`. */
import v8 from 'node:v8'

class Serializer extends v8.DefaultSerializer {}
Object.assign(Serializer.prototype, { _getDataCloneError: dataCloneError })

/** Not an arrow or a method: V8 calls it, and Node calls it with `new`. */
function dataCloneError(message: string): DOMException {
  return new DOMException(message, 'DataCloneError')
}

/**
 * Serialises as `v8.serialize()`, which would throw a plain Error. `structuredClone()` itself ends the process with a
 * signal for a closed handle of Node.
 *
 * @throws `DataCloneError` for a value that cannot be cloned
 */
export function serialize(value: unknown): Buffer {
  const serializer = new Serializer()
  serializer.writeHeader()
  serializer.writeValue(value)
  return serializer.releaseBuffer()
}
