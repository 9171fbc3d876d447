/** The echo of `listen()`. */
import { listen } from 'ebb'
import { HOST, tell } from './serve.mjs'

const { address } = listen({ port: 0, host: HOST }, { data: (connection, bytes) => connection.write(bytes) })
tell(address.port)
