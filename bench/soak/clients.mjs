/** The clients of the soak. Each step returns when its clients are connected and have done their work. */
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** @import { Socket } from 'node:net' */
/** @typedef {{ http: number, net: number, bare: number }} Ports */

const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
const LARGE = 'GET /large HTTP/1.1\r\nHost: x\r\n\r\n'
const STREAM = 'GET /stream HTTP/1.1\r\nHost: x\r\n\r\n'
const UPGRADE = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: soak\r\n\r\n'

/** Connected clients. */
export class Clients {
  /** @type {Set<Socket>} */
  #open = new Set()

  get size() {
    return this.#open.size
  }

  /**
   * Connects clients, a few hundred at a time. A client that is refused, because the server was just shut down, is left
   * out.
   *
   * @param {number} port
   * @param {number} count
   */
  async connect(port, count) {
    /** @type {Socket[]} */
    const sockets = []
    while (sockets.length < count) {
      const some = Array.from({ length: Math.min(200, count - sockets.length) }, () => this.#connect(port))
      await Promise.all(
        some.map((socket) => new Promise((resolve) => socket.once('connect', resolve).once('close', resolve)))
      )
      sockets.push(...some)
    }
    return sockets
  }

  /** @param {number} port */
  #connect(port) {
    const socket = connect(port, '127.0.0.1')
    this.#open.add(socket)
    return socket
      .on('error', () => {})
      .on('close', () => this.#open.delete(socket))
      .resume()
  }

  /** Closes all clients, and waits until they are closed. */
  async close() {
    for (const socket of this.#open) socket.destroy()
    while (this.#open.size > 0) await wait(5)
  }
}

/**
 * The steps of the soak by name.
 *
 * @type {Record<string, (clients: Clients, ports: Ports, count: number) => Promise<unknown>>}
 */
export const STEPS = {
  // Clients of all servers; some talk, some are silent, some sleep and talk again.
  async crowd(clients, { http, net, bare }, count) {
    const share = Math.ceil(count / 3)
    const sockets = await Promise.all([http, net, bare].map((port) => clients.connect(port, share)))
    for (let round = 0; round < 3; round++) {
      for (const [i, [web, echo, plain]] of transposed(sockets).entries()) {
        if (i % 3 === 0) continue
        web?.write(i % 50 === 1 ? LARGE : GET)
        echo?.write(i % 7 === 1 ? 'u' : 'x')
        plain?.write('x')
      }
      await wait(500)
    }
  },
  // Many short connections.
  async storm(clients, ports, count) {
    for (const port of Object.values(ports)) {
      for (const socket of await clients.connect(port, count)) socket.end(port === ports.http ? GET : 'x')
    }
    await wait(200)
  },
  // Connections that break, with bytes on their way in both directions.
  async resets(clients, ports, count) {
    for (const port of Object.values(ports)) {
      const sockets = await clients.connect(port, Math.ceil(count / 3))
      for (const socket of sockets) socket.write(port === ports.http ? LARGE : 'x'.repeat(1000))
      await wait(Math.random() * 300)
      for (const socket of sockets) socket.resetAndDestroy()
    }
  },
  async streams(clients, { http }, count) {
    for (const socket of await clients.connect(http, Math.ceil(count / 2))) socket.write(STREAM)
    await wait(300)
  },
  // Sockets that others take over: upgrades, another server.
  async takes(clients, { http, net }, count) {
    for (const socket of await clients.connect(http, Math.ceil(count / 4))) socket.write(UPGRADE)
    for (const socket of await clients.connect(net, Math.ceil(count / 4))) socket.write('h')
    await wait(300)
  },
  // Longer than every timeout of the servers.
  async timeouts(clients, ports, count) {
    await Promise.all(Object.values(ports).map((port) => clients.connect(port, Math.ceil(count / 6))))
    await wait(6000)
  }
}

/**
 * @param {Socket[][]} lists
 * @returns {(Socket | undefined)[][]}
 */
function transposed(lists) {
  const [first = []] = lists
  return first.map((_, i) => lists.map((list) => list[i]))
}
