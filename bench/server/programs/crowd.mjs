/**
 * The client: connections as bare descriptors, on the reactor, so that it takes little beside what it measures. The same for
 * every server.
 */
import { libc, reactor, SocketAddress, setOption, systemError } from 'ebb/sys'
import { answer, given } from '../../harness/answer.mjs'
import { HOST } from './serve.mjs'

const SO_RCVTIMEO = 20
/** Connects, each with its first message, that are under way at once: less than a server's queue. */
const BURST = 200
const READ = 65_536
/** An answer that takes longer (ms) does not come any more. */
const LONGEST = 30_000

const BODY = 'ok\n'
const MESSAGES = {
  http: Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  tcp: Buffer.alloc(64, 'm')
}

class Crowd {
  #reactor = reactor()
  #owner = this.#reactor.register(this)
  #message
  /** Bytes of an answer. Every one of a server is as long as the first. */
  #length
  #fds = []
  #buffer = Buffer.allocUnsafeSlow(READ)
  #bufferAt = libc.addressOf(this.#buffer)
  /** By descriptor: bytes that are still to come. */
  #missing = new Int32Array(32_768)
  /** Connections with something still to come, and who waits for them. */
  #waiting = 0
  #done
  /** While true, an answer is followed by the next message. */
  #goesOn = false
  #answers = 0

  constructor(protocol) {
    this.#message = MESSAGES[protocol]
    this.#length = protocol === 'tcp' ? this.#message.length : undefined
  }

  /** Connects `n` times; each sends a message and gets its answer. */
  async connect(port, n) {
    this.#reactor.ref()
    const address = new SocketAddress({ host: HOST, port })
    for (let left = n; left > 0; left -= BURST) {
      const burst = Array.from({ length: Math.min(BURST, left) }, () => this.#connect(address))
      this.#length ??= this.#learn(burst.pop())
      await this.#ask(burst)
    }
  }

  /** All send a message at once. Resolves with the time from the first byte sent to the last answer received, ms. */
  async storm() {
    const start = performance.now()
    await this.#ask(this.#fds)
    return performance.now() - start
  }

  /** Those from `from` to `to` send a message, one after the other. From each one's write to its answer's first byte, us. */
  turns(from, to) {
    return this.#fds.slice(from, to).map((fd) => {
      const start = performance.now()
      this.#send(fd)
      let left = this.#length - this.#receiveNow(fd)
      const first = performance.now()
      while (left > 0) left -= this.#receiveNow(fd)
      return (first - start) * 1000
    })
  }

  /** Resolves when each has got `bytes` that it did not ask for. */
  expect(bytes) {
    return this.#wait(this.#fds, bytes)
  }

  /** For `ms`, each sends the next message as soon as it has the answer to the last. Resolves with their number, and this process's CPU, ms. */
  async pingPong(ms) {
    this.#goesOn = true
    this.#answers = 0
    const cpu = process.cpuUsage()
    const start = performance.now()
    setTimeout(() => {
      this.#goesOn = false
    }, ms)
    await this.#ask(this.#fds)
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    return { total: this.#answers, perSecond: this.#answers / seconds, cpu: (user + system) / 1000 }
  }

  close() {
    for (const fd of this.#fds) this.#reactor.close(fd)
    this.#fds = []
  }

  /** @internal Called by the reactor. */
  ready(fd) {
    const received = libc.recv(fd, this.#bufferAt, READ, 0)
    if (received <= 0) {
      this.#reactor.close(fd)
      this.#fail(new Error(`the server closed a connection (${received === 0 ? 'FIN' : libc.errno()})`))
      return
    }
    this.#missing[fd] -= received
    if (this.#missing[fd] > 0) return
    this.#answers++
    if (this.#goesOn) {
      this.#missing[fd] = this.#length
      this.#send(fd)
    } else if (--this.#waiting === 0) this.#done?.resolve()
  }

  /** A blocking socket: over loopback it is connected at once, and nothing is read before it is there. */
  #connect(address) {
    const fd = libc.check(libc.socket(address.family, libc.SOCK_STREAM | libc.SOCK_CLOEXEC, 0), 'socket')
    libc.check(libc.connect(fd, address.pointer, address.length), 'connect')
    // A `struct timeval`: two 64-bit numbers.
    setOption(fd, libc.SOL_SOCKET, SO_RCVTIMEO, LONGEST / 1000, 0, 0, 0)
    // Edge-triggered: the kernel looks at each socket once less. What comes at once is less than one read takes.
    const errno = this.#reactor.add(fd, libc.EPOLLIN | libc.EPOLLET, this.#owner)
    if (errno !== 0) throw systemError('epoll_ctl', errno)
    this.#fds.push(fd)
    return fd
  }

  async #ask(fds) {
    const answered = this.#wait(fds, this.#length)
    for (const fd of fds) this.#send(fd)
    await answered
  }

  #wait(fds, bytes) {
    if (fds.length === 0) return
    for (const fd of fds) this.#missing[fd] = bytes
    this.#waiting = fds.length
    return new Promise((resolve, reject) => {
      this.#done = { resolve, reject }
      const late = () => this.#fail(new Error(`${this.#waiting} of ${fds.length} connections got no answer`))
      const timer = setTimeout(late, LONGEST)
      this.#done.resolve = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #fail(error) {
    this.#done?.reject(error)
    this.#done = undefined
  }

  #send(fd) {
    const message = this.#message
    libc.check(libc.sendBuffer(fd, message, message.length, libc.MSG_NOSIGNAL), 'send')
  }

  /** Sleeps in the kernel until there is something: no event loop of this process is in the time. */
  #receiveNow(fd) {
    const received = libc.recv(fd, this.#bufferAt, READ, 0)
    if (received === 0) throw new Error('the server closed a connection')
    // EAGAIN: no answer in time.
    return libc.check(received, 'recv')
  }

  /** The length of an answer. */
  #learn(fd) {
    this.#send(fd)
    let text = ''
    while (!text.endsWith(BODY)) text += this.#buffer.toString('latin1', 0, this.#receiveNow(fd))
    return text.length
  }
}

const crowd = new Crowd(...given)
answer({
  connect: (port, n) => crowd.connect(port, n),
  storm: () => crowd.storm(),
  turns: (from, to) => crowd.turns(from, to),
  expect: (bytes) => crowd.expect(bytes),
  pingPong: (ms) => crowd.pingPong(ms),
  close: () => crowd.close()
})
