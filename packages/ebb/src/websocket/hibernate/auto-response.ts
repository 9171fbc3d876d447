/** Messages that are answered without a handler, such as a client's `ping` that is text. */
import { lengthened, shortened } from '../../sys/arrays.js'
import { invalidArgument, shown } from '../../sys/errors.js'

/** A text message, and the text message with which it is answered. */
export interface AutoResponse {
  /** At most 2,048 characters. */
  request: string
  /** At most 2,048 characters. */
  response: string
}

/** As in Durable Objects. */
const MAX_LENGTH = 2048

/** The pairs, and when each connection was answered last. */
export class AutoResponses {
  /** By length of the request, in bytes. */
  readonly #pairs = new Map<number, { request: Buffer; response: string }[]>()
  /** By row: when it was answered last, in ms since 1970; 0: never. */
  #times = new Float64Array(0)

  /** @throws {TypeError} `ERR_INVALID_ARG_VALUE` for anything but a pair, or a list of pairs */
  constructor(pairs: AutoResponse | readonly AutoResponse[]) {
    for (const pair of Array.isArray(pairs) ? (pairs as AutoResponse[]) : [pairs as AutoResponse]) {
      const { request, response } = checkPair(pair)
      const bytes = Buffer.from(request)
      const others = this.#pairs.get(bytes.length) ?? []
      if (others.some((other) => other.request.equals(bytes))) {
        throw invalidArgument(`autoResponse has two responses to ${shown(request)}`)
      }
      this.#pairs.set(bytes.length, [...others, { request: bytes, response }])
    }
  }

  /** Returns the response to a message; undefined if there is none. */
  responseTo(bytes: Buffer, start: number, end: number): string | undefined {
    const pairs = this.#pairs.get(end - start)
    return pairs?.find(({ request }) => request.compare(bytes, start, end) === 0)?.response
  }

  /** Notes that a connection was answered. @param at ms since 1970 */
  note(row: number, at = Date.now()): void {
    if (row >= this.#times.length) this.#times = lengthened(this.#times, row)
    this.#times[row] = at
  }

  /** Returns when a connection was answered last; undefined: never. */
  timestamp(row: number): Date | undefined {
    const time = this.#times[row] ?? 0
    return time === 0 ? undefined : new Date(time)
  }

  delete(row: number): void {
    if (row < this.#times.length) this.#times[row] = 0
  }

  /** Frees memory. @param end no row from here on is in use */
  trim(end: number): void {
    this.#times = shortened(this.#times, end)
  }
}

function checkPair(pair: unknown): AutoResponse {
  const { request, response } = (pair ?? {}) as Partial<AutoResponse>
  for (const text of [request, response]) {
    if (typeof text === 'string' && text.length <= MAX_LENGTH) continue
    const what = `strings of at most ${MAX_LENGTH} characters`
    throw invalidArgument(`autoResponse must be { request, response }, or a list of these, with ${what}`)
  }
  return { request: request as string, response: response as string }
}
