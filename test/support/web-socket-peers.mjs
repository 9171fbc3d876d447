/** Clients of WebSockets for scopes.mjs, which send frames as bytes. */

export const [TEXT, CLOSE, PING, PONG, FRAGMENT, LAST, RESERVED] = [0x81, 0x88, 0x89, 0x8a, 0x01, 0x80, 0x83]
/** Payload of a close frame with code 1000. */
export const NORMAL = Buffer.from([0x03, 0xe8])

/** A frame as a client sends it, with the mask 0. */
export function frame(first, payload = '') {
  const bytes = Buffer.from(payload)
  return Buffer.concat([Buffer.from([first, 0x80 | bytes.length, 0, 0, 0, 0]), bytes])
}

const request = (path) =>
  [
    `GET ${path} HTTP/1.1`,
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    '\r\n'
  ].join('\r\n')

/**
 * Makes what opens connections and what sends on them.
 *
 * @param tools of scopes.mjs
 * @param opened list to which the server adds each connection that it opens
 */
export function peersOf({ answered, dials, until }, opened) {
  const forget = (peers) => {
    for (const peer of peers) peer.received = 0
  }
  return {
    /** Opens connections, by requests for these paths in turn. @returns clients that have received nothing yet */
    async open(server, count, paths = ['/']) {
      const peers = await dials(server, count)
      const wanted = opened.length + count
      for (const [i, peer] of peers.entries()) peer.write(request(paths[i % paths.length]))
      await until('connections', () => opened.length === wanted)
      await answered(peers, 1)
      forget(peers)
      return peers
    },
    /** Has each client send frames in one packet, and waits for what is as long as an answer. */
    async say(peers, ...frames) {
      forget(peers)
      for (const peer of peers) peer.write(Buffer.concat(frames))
      await answered(peers, 3)
    }
  }
}
