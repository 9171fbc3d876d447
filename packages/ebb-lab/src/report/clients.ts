/** Words for what a server holds, by the protocol that its clients spoke. */
import type { Header } from '../record/recording.js'

/** What clients spoke; undefined for bare TCP. */
export type ClientProtocol = Header['protocol']

const WORDS: Record<NonNullable<ClientProtocol>, string> = {
  http: 'HTTP connection',
  ws: 'WebSocket',
  mqtt: 'MQTT session'
}

/** Returns what the clients of all these servers spoke, or undefined if they differ. */
export function commonProtocol(verdicts: readonly { protocol?: ClientProtocol }[]): ClientProtocol {
  const [first, ...others] = new Set(verdicts.map(({ protocol }) => protocol))
  return others.length === 0 ? first : undefined
}

/** Returns what one client is to the server: a connection, a WebSocket. */
export function clientWord(protocol: ClientProtocol): string {
  return protocol === undefined ? 'connection' : WORDS[protocol]
}
